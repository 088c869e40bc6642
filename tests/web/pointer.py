"""Where something is, and dragging it with a mouse or a finger."""

# the element's box, once it has been the same for some frames
AT_REST = """(element) => {
    const {x, y, width, height} = element.getBoundingClientRect()
    const now = [x, y, width, height].join()
    const frames = now === element.psaWas?.now ? element.psaWas.frames + 1 : 0
    element.psaWas = frames < 3 ? {now, frames} : null
    return frames >= 3 && {x, y, width, height}
}"""


def box_at_rest(locator):
    """{x, y, width, height} of what may still be on its way there."""
    return locator.page.wait_for_function(AT_REST, arg=locator.element_handle()).json_value()


def centre(locator):
    box = box_at_rest(locator)
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
