"""The package as others have it: its files, its commands and its Python APIs in folders of any content."""
