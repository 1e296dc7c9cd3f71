// Converts the shape and duration that users choose to the numbers that the model accepts.

const FRAMES_PER_LATENT = 8; // the model renders 8k+1 frames

/** Width and height in pixels of each shape, with about the same number of pixels as the default size. */
export function shapes(parameters) {
  const [width, height] = [parameters.width.default, parameters.height.default];
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  const multiple = parameters.width.multipleOf ?? 1;
  const side = Math.round(Math.sqrt(long * short) / multiple) * multiple;
  return { landscape: [long, short], portrait: [short, long], square: [side, side] };
}

export function framesFor(seconds, frameRate, { minimum, maximum }) {
  const frames = Math.floor((seconds * frameRate - 1) / FRAMES_PER_LATENT) * FRAMES_PER_LATENT + 1;
  return Math.min(Math.max(frames, minimum), maximum);
}
