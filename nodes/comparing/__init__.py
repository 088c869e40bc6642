"""How far one clip is from another: figures, text and pictures of PSA Compare."""
