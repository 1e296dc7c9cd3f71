// The API's fields of given images.

export const IMAGE = "image";
export const END_IMAGE = "end_image";
export const KEYFRAME = "keyframe";
export const KEYFRAME_AT = "keyframe_at";

/** The fields for the places and strengths of images, each as [name, value]. A strength of 1 is the default. */
export function placesOf(images) {
  const isKeyframe = ({ field }) => field === KEYFRAME;
  const keyframes = images.filter(isKeyframe);
  const changed = ({ strength }) => strength !== 1;
  const strengths = ({ field, strength }) => [`${field}_strength`, strength];
  return [
    ...images.filter((image) => !isKeyframe(image) && changed(image)).map(strengths),
    ...keyframes.map(({ at }) => [KEYFRAME_AT, at]),
    ...(keyframes.some(changed) ? keyframes.map(strengths) : []),
  ];
}
