"""Token orders and blocks (sections 1 and 2), written out for the oracle."""


def raster(count):
    return list(range(count))


def sta_order(grid, tile):
    """Tiles in raster order, tokens of a tile in raster order; smaller tiles at the far edges."""
    depth, height, width = grid
    order = []
    for z0 in range(0, depth, tile[0]):
        for y0 in range(0, height, tile[1]):
            for x0 in range(0, width, tile[2]):
                for z in range(z0, min(z0 + tile[0], depth)):
                    for y in range(y0, min(y0 + tile[1], height)):
                        for x in range(x0, min(x0 + tile[2], width)):
                            order.append((z * height + y) * width + x)
    return order


def pieces(tokens, size):
    """Consecutive pieces of `size`; the last one may be short."""
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


def blocks_of(order, length, before, after, size):
    """(video blocks, extra blocks) as lists of positions."""
    video = [before + int(token) for token in order]
    assert sorted(video) == list(range(before, length - after))
    prefix, suffix = list(range(before)), list(range(length - after, length))
    return pieces(video, size), pieces(prefix + suffix, size)
