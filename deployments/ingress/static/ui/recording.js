// Records from the microphone.

const LONGEST_S = 20; // what the server uses of an audio file
const ENDINGS = { "audio/webm": "webm", "audio/mp4": "m4a", "audio/ogg": "ogg" };

/**
 * Start a recording. `onSecond` is called with each full second. Returns {stop, file}: the file comes after `stop`, and
 * after 20 s at the latest. Throws where the user or the browser allows no microphone.
 */
export async function record(onSecond) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  let at_s = 0;
  const stop = () => recorder.state !== "inactive" && recorder.stop();
  const timer = setInterval(() => {
    at_s += 1;
    onSecond(at_s);
    if (at_s >= LONGEST_S) stop();
  }, 1000);
  const file = new Promise((resolve) => {
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType.split(";")[0];
      resolve(new File(parts, `recording.${ENDINGS[type] ?? "webm"}`, { type }));
    });
  });
  recorder.start();
  onSecond(0);
  return { stop, file };
}
