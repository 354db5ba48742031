/** Frames with a bright spot that the servers of these tests detect. */

const WIDTH = 96;
const HEIGHT = 64;

/** Give a frame of 8 or 16 bits with a spot at a place, in noise that differs with the seed. */
export function spotFrame(x, y, { seed = 1, Pixels = Uint8Array } = {}) {
  const full = Pixels === Uint8Array ? 255 : 65535;
  let state = seed >>> 0;
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * 0.01;
  };
  const data = new Pixels(WIDTH * HEIGHT);
  for (let place = 0; place < data.length; place += 1) {
    const [column, row] = [(place % WIDTH) + 0.5, Math.floor(place / WIDTH) + 0.5];
    const level = 0.25 + 0.7 * Math.exp(-((column - x) ** 2 + (row - y) ** 2) / 2) + noise();
    data[place] = Math.round(Math.min(1, Math.max(0, level)) * full);
  }
  return { data, width: WIDTH, height: HEIGHT };
}

/** Give frames with a spot that moves, so that it becomes a track. */
export function movingSpot(count) {
  return Array.from({ length: count }, (_, index) =>
    spotFrame(20 + 1.5 * index, 30 + 0.5 * index, { seed: index + 1 }),
  );
}
