"""Dragging, with a mouse and with a finger."""


def centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag_by_mouse(page, locator, dx, steps=8):
    x, y = centre(locator)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y, steps=steps)
    page.mouse.up()


def drag_by_touch(page, locator, dx, steps=8):
    """Real touch events: Playwright itself can only tap."""
    x, y = centre(locator)
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": x, "y": y})
    for i in range(1, steps + 1):
        touch("touchMove", {"x": x + dx * i / steps, "y": y})
    touch("touchEnd")
    session.detach()
