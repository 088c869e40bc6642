"""What stands out too little from what it is drawn on: WCAG 2.2 AA, 1.4.3 and 1.4.11.

Axe decides on no colour here: ComfyUI lays layers that let clicks through over its canvas, and axe
takes them for something in front of the text.  So the page computes it from its styles: the ground
of a text, an icon or an edge is what the elements around it are filled with.
"""

# ComfyUI's own, without "solarized": its text stands out from its surface by 4.9, so that tints of
# the two cannot reach 4.5; and without "github", which is "nord" on a darker surface.
PALETTES = ("light", "arc", "nord", "dark")
CHOOSE_PALETTE = """async (id) => {
    await app.extensionManager.setting.set('Comfy.ColorPalette', id)
    return getComputedStyle(document.body).getPropertyValue('--comfy-menu-bg')
}"""
# Of everything to judge: {what, kind, ink, ground, ratio, needed}. Colours are [red, green, blue,
# alpha], 0 to 255 and 0 to 1; null where something else than a colour lies beneath.
MEASURE = r"""(selector) => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true})
    const read = (text) => {
        canvas.clearRect(0, 0, 1, 1)
        canvas.fillStyle = text
        canvas.fillRect(0, 0, 1, 1)
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
        return [r, g, b, a / 255]
    }
    const known = new Map()
    const colour = (text) => known.get(text) ?? known.set(text, read(text)).get(text)
    const colours = (text) => (text.match(/\b(?:rgba?|color)\([^()]*\)/g) ?? []).map(colour)
    const styles = new Map()
    const style = (e) => styles.get(e) ?? styles.set(e, getComputedStyle(e)).get(e)

    const over = (above, beneath, opacity = 1) => {
        const alpha = above && above[3] * opacity
        if (alpha === 1) return above
        if (!above || !beneath) return null
        const under = beneath[3] * (1 - alpha)
        const both = alpha + under
        const mixed = [0, 1, 2].map((i) => (above[i] * alpha + beneath[i] * under) / (both || 1))
        return [...mixed, both]
    }
    const luminance = (c) => {
        const [r, g, b] = c.map((x) => x / 255)
            .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const ratio = (a, b) => {
        if (!a || !b) return 0
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
        return (high + 0.05) / (low + 0.05)
    }
    // more than one in a gradient; one that does not repeat is a drawing, such as a select's arrow
    const fills = ({backgroundColor, backgroundImage, backgroundRepeat}) => {
        const fill = colour(backgroundColor)
        if (backgroundImage === 'none' || backgroundRepeat.includes('no-repeat')) return [fill]
        if (backgroundImage.includes('url(')) return [null]
        return [fill, ...colours(backgroundImage).map((stop) => over(stop, fill))]
    }
    // an ink inside an element as it looks in the end, at the fill where it stands out least
    const seen = (e, ink) => {
        const chain = [e]
        while (!chain[0].matches(':popover-open, dialog:modal') && chain[0].parentElement)
            chain.unshift(chain[0].parentElement)
        const within = (i, beneath) => {
            if (i === chain.length) return [[over(ink, beneath), beneath]]
            const {opacity} = style(chain[i])
            return fills(style(chain[i]))
                .flatMap((fill) => within(i + 1, over(fill, beneath)))
                .map((pair) => pair.map((c) => over(c, beneath, Number(opacity))))
        }
        return within(0, null)
            .map(([ink, ground]) => ({ink, ground, ratio: ratio(ink, ground)}))
            .reduce((a, b) => (b.ratio < a.ratio ? b : a))
    }
    // what shows where an element is
    const marks = (e) => {
        const {borderTopWidth, borderTopColor, boxShadow, backgroundColor} = style(e)
        const drawn = [colour(backgroundColor), ...colours(boxShadow)]
        if (parseFloat(borderTopWidth)) drawn.push(colour(borderTopColor))
        return drawn.filter((c) => c[3])
    }

    const judged = []
    const judge = (e, kind, needed, where, inks) => {
        const said = e.getAttribute('aria-label') || e.textContent.trim() || e.placeholder || e.id
        const what = `${e.tagName.toLowerCase()}.${e.getAttribute('class')} '${said.slice(0, 40)}'`
        const best = inks.map((ink) => seen(where, ink))
            .reduce((a, b) => (b.ratio > a.ratio ? b : a))
        judged.push({what, kind, needed, ...best})
    }
    const judgeText = (e, kind, {color, fontSize, fontWeight}) => {
        const size = parseFloat(fontSize)
        const large = size >= 24 || (size >= 18.66 && Number(fontWeight) >= 700)
        // another element paints what is transparent here
        if (colour(color)[3]) judge(e, kind, large ? 3 : 4.5, e, [colour(color)])
    }
    const STATE = ':is([aria-checked=true], [aria-pressed=true], [aria-current]):not([role=switch])'
    const judgeAll = (e, scope) => {
        const field = e.matches('input, textarea, select')
        const text = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim())
        if (field ? e.value : text) judgeText(e, 'text', style(e))
        if (e.placeholder && !e.value) judgeText(e, 'text', getComputedStyle(e, '::placeholder'))
        if (field || e.matches('[role=switch]')) {
            let edge = e
            while (edge !== scope && !marks(edge).length) edge = edge.parentElement
            judge(e, 'edge', 3, edge.parentElement, marks(edge))
        }
        if (e.matches('[role=switch] > *')) judge(e, 'thumb', 3, e.parentElement, marks(e))
        if (e.matches(STATE)) judge(e, 'state', 3, e.parentElement, marks(e))
        if (e.matches('[role=img]:empty')) judge(e, 'picture', 3, e.parentElement, marks(e))
        if (e.matches('svg')) {
            const {stroke, fill} = style(e.firstElementChild)
            judge(e, 'icon', 3, e, [colour(stroke === 'none' ? fill : stroke)])
        }
    }
    for (const scope of document.querySelectorAll(selector))
        for (const e of [scope, ...scope.querySelectorAll('*:not(option)')])
            if (e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length
                && !e.closest(':disabled, [aria-disabled=true], [inert]'))
                judgeAll(e, scope)
    return judged
}"""


def faint(page, selector, at_least):
    """What in a selector's elements stands out too little, as (kind, what, how much, palette).

    at_least: how much there is to judge, lest nothing be found where nothing was looked at.
    The palette is "dark" afterwards.
    """
    found, surfaces = [], set()
    for palette in PALETTES:
        surfaces.add(page.evaluate(CHOOSE_PALETTE, palette))
        judged = page.evaluate(MEASURE, selector)
        assert len(judged) >= at_least, f"only {len(judged)} to judge in {selector}"
        for it in judged:
            if it["ratio"] < it["needed"]:
                much = f"{it['ratio']:.2f}, not {it['needed']}: {it['ink']} on {it['ground']}"
                found.append((it["kind"], it["what"], much, palette))
    assert len(surfaces) == len(PALETTES), f"the palette did not change: {surfaces}"
    return found
