// Dotted paths into a preset's mapping.

/** The value at `path`, or undefined. */
export function at(mapping, path) {
  return path.split(".").reduce((inner, key) => inner?.[key], mapping ?? undefined);
}

/** Whether `path` is `inside` or lies in it. */
export const within = (path, inside) => path === inside || path.startsWith(`${inside}.`);

/** A copy of `changes` with `more` on top: a change of a whole takes the place of its parts. */
export function merged(changes, more) {
  const result = new Map(changes);
  for (const [path, value] of Object.entries(more)) {
    for (const known of result.keys()) if (within(known, path)) result.delete(known);
    result.set(path, value);
  }
  return result;
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
