"""The generator of the demo model's text. In: a seed. Out: Korean documents, all from the templates of this folder."""
