"""The fast paths, one file each; `dlcore.nn` calls them, nobody has to."""
