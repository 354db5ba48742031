/** A tone, if it is wanted. */

import { byId } from "./dom.js";

const STORED = "loddis.sound";

/** @type {AudioContext | undefined} one for the page; browsers let it sound once somebody has pressed something there */
let audio;

/** Let the button turn it on and off. */
export function offerSound() {
  const button = byId("sound");
  const show = () => {
    const waits = isOn() && audio?.state !== "running";
    button.setAttribute("aria-pressed", String(isOn()));
    button.title = waits
      ? "The browser lets it sound once you have clicked on this page"
      : "A tone for each new target";
  };
  button.addEventListener("click", async () => {
    localStorage.setItem(STORED, isOn() ? "off" : "on");
    await wake();
    show();
    beep();
  });
  for (const gesture of ["pointerdown", "keydown"]) {
    addEventListener(gesture, () => wake().then(show));
  }
  show();
}

/** Sound, where that is wanted and allowed. */
export function beep() {
  if (!isOn() || audio?.state !== "running") {
    return;
  }
  const tone = new OscillatorNode(audio, { frequency: 880 });
  tone.connect(new GainNode(audio, { gain: 0.2 })).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.18);
}

function isOn() {
  return localStorage.getItem(STORED) === "on";
}

async function wake() {
  if (isOn()) {
    audio ??= new AudioContext();
    await audio.resume();
  }
}
