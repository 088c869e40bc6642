"""How far one clip is from another: the figures, the words and the pictures of PSA Compare."""
