// The API's fields of what is given for a video: images, audio, and a control video.

export const IMAGE = "image";
export const END_IMAGE = "end_image";
export const KEYFRAME = "keyframe";
export const KEYFRAME_AT = "keyframe_at";

export const AUDIO = "audio";
export const VIDEO = "video";

/** Whether a file of a request is one of its images. */
export const isImage = ({ field }) => field !== AUDIO && field !== VIDEO;

/** The fields for the places and strengths of what is given, each as [name, value]. A strength of 1 is the default. */
export function placesOf(images) {
  const isKeyframe = ({ field }) => field === KEYFRAME;
  const keyframes = images.filter(isKeyframe);
  const changed = ({ strength = 1 }) => strength !== 1;
  const strengths = ({ field, strength }) => [`${field}_strength`, strength];
  return [
    ...images.filter((image) => !isKeyframe(image) && changed(image)).map(strengths),
    ...keyframes.map(({ at }) => [KEYFRAME_AT, at]),
    ...(keyframes.some(changed) ? keyframes.map(strengths) : []),
    ...images.filter(({ field }) => field === AUDIO).flatMap(partOf),
  ];
}

/** Which part of the audio is used. */
const partOf = ({ start, duration }) => [["audio_start", start], ["duration", duration]].filter(([, seconds]) => seconds !== null);
