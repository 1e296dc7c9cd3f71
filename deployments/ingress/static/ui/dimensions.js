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

/** The size that the server gives a video which follows one of this size. */
export function fittedSize(size, { width: { multipleOf: multiple = 1, maximum } }) {
  const most = Math.floor(maximum / multiple) * multiple;
  const scale = Math.min(1, most / Math.max(size.width, size.height));
  const fitted = (side) => Math.min(most, Math.max(multiple, Math.round((side * scale) / multiple) * multiple));
  return { width: fitted(size.width), height: fitted(size.height) };
}

export function framesFor(seconds, frameRate, { minimum, maximum }) {
  const frames = Math.floor((seconds * frameRate - 1) / FRAMES_PER_LATENT) * FRAMES_PER_LATENT + 1;
  return Math.min(Math.max(frames, minimum), maximum);
}
