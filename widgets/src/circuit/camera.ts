// Which part of the world is on screen. Screen = world × scale + shift.

export interface Camera {
  scale: number;
  x: number;
  y: number;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const LEAST = 0.02;
const MOST = 6;

export function toWorld(camera: Camera, x: number, y: number): [number, number] {
  return [(x - camera.x) / camera.scale, (y - camera.y) / camera.scale];
}

/** What part of the world a rectangle of the screen shows. */
export function region(camera: Camera, screen: Box): Box {
  const [left, top] = toWorld(camera, screen.left, screen.top);
  const [right, bottom] = toWorld(camera, screen.right, screen.bottom);
  return { left, top, right, bottom };
}

/** The whole of `width` × `height` within the screen, never larger than life. */
export function fit(width: number, height: number, screen: Box): Camera {
  const [wide, high] = [screen.right - screen.left, screen.bottom - screen.top];
  const scale = Math.max(LEAST, Math.min(1, wide / Math.max(1, width), high / Math.max(1, height)));
  return {
    scale,
    x: screen.left + (wide - width * scale) / 2,
    y: screen.top + (high - height * scale) / 2,
  };
}

/** Zoom by `factor` about a point of the screen, which stays where it is. */
export function zoom(camera: Camera, factor: number, x: number, y: number): Camera {
  const scale = Math.min(MOST, Math.max(LEAST, camera.scale * factor));
  const real = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * real, y: y - (y - camera.y) * real };
}

export function pan(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x + dx, y: camera.y + dy };
}

/** Keep a corner of the graph on screen, so that it cannot be lost. */
export function held(camera: Camera, width: number, height: number, screen: Box): Camera {
  const keep = 40;
  const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, Math.min(low, high)), Math.max(low, high));
  return {
    scale: camera.scale,
    x: clamp(camera.x, screen.left + keep - width * camera.scale, screen.right - keep),
    y: clamp(camera.y, screen.top + keep - height * camera.scale, screen.bottom - keep),
  };
}

/** The camera moved as little as needed to have a point on screen. */
export function reveal(camera: Camera, x: number, y: number, screen: Box, margin = 30): Camera {
  const [atX, atY] = [x * camera.scale + camera.x, y * camera.scale + camera.y];
  const shift = (at: number, low: number, high: number): number => Math.max(low + margin - at, 0) || Math.min(high - margin - at, 0);
  return pan(camera, shift(atX, screen.left, screen.right), shift(atY, screen.top, screen.bottom));
}
