// Arithmetic of the pyramid bar: positions, snapping, pushing. No DOM.

/** Pixels within which a dragged boundary sticks to a round value. */
const MAGNET = 4;
/** How many steps lie between two round values. */
const COARSE = 5;

const tidy = (value) => Number(value.toFixed(6));

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function snap(value, step, low) {
  return tidy(low + Math.round((value - low) / step) * step);
}

/**
 * Where a dragged boundary comes to rest: on a step, or on a round value that is near on screen.
 * `perPixel` is how much one pixel is worth; `fine` divides the step by ten and has no magnet.
 */
export function rest(value, { low, high, step }, perPixel, fine = false) {
  const inside = clamp(value, low, high);
  if (fine) return snap(inside, step / 10, low);
  const round = snap(inside, step * COARSE, low);
  return Math.abs(round - inside) <= MAGNET * perPixel ? round : snap(inside, step, low);
}

/** What a key does to a boundary, or null for a key that means nothing here. */
export function keyed(key, large, value, { low, high, step }) {
  const by = large ? step * COARSE : step;
  const moves = {
    ArrowRight: by,
    ArrowUp: by,
    ArrowLeft: -by,
    ArrowDown: -by,
    PageUp: step * COARSE,
    PageDown: -step * COARSE,
  };
  if (key === "Home") return low;
  if (key === "End") return high;
  return key in moves ? tidy(clamp(value + moves[key], low, high)) : null;
}

/** Boundaries with one of them moved; the others give way, so that they stay in order. */
export function pushed(bounds, index, value) {
  return bounds.map((bound, i) => {
    if (i === index) return value;
    return i < index ? Math.min(bound, value) : Math.max(bound, value);
  });
}

/**
 * Which boundary a pointer means that goes down at `value` on the bar itself: the nearest. Of
 * several in one place it is the last one for a move to the right and the first for one to the
 * left, so that no level without a width opens by accident.
 */
export function meant(bounds, value, direction) {
  const distance = Math.min(...bounds.map((bound) => Math.abs(bound - value)));
  const near = bounds
    .map((bound, i) => [Math.abs(bound - value), i])
    .filter(([d]) => d <= distance + 1e-9)
    .map(([, i]) => i);
  return direction > 0 ? near.at(-1) : near[0];
}

/** Pixel positions of knobs of the given width, as near to `wanted` as they can be side by side. */
export function spread(wanted, width, total) {
  const half = width / 2;
  const places = wanted.map((x) => clamp(x, half, total - half));
  for (let i = 1; i < places.length; i++) {
    places[i] = Math.max(places[i], places[i - 1] + width);
  }
  let limit = total - half;
  for (let i = places.length - 1; i >= 0; i--) {
    places[i] = Math.min(places[i], limit);
    limit = places[i] - width;
  }
  // A cluster that was pushed to the right only is centred on what it stands for.
  for (let start = 0; start < places.length;) {
    let end = start;
    while (end + 1 < places.length && places[end + 1] - places[end] < width + 0.5) end++;
    const shift = average(wanted, start, end) - average(places, start, end);
    const room = start ? places[start] - places[start - 1] - width : places[start] - half;
    const ahead =
      end + 1 < places.length ? places[end + 1] - places[end] - width : total - half - places[end];
    const by = clamp(shift, -Math.max(0, room), Math.max(0, ahead));
    for (let i = start; i <= end; i++) places[i] += by;
    start = end + 1;
  }
  return places;
}

function average(list, start, end) {
  let sum = 0;
  for (let i = start; i <= end; i++) sum += list[i];
  return sum / (end - start + 1);
}
