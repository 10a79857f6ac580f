// What the library takes for granted because Node.js has it.
export { Buffer } from 'buffer/';
export const process = { nextTick: (work) => setTimeout(work, 0), env: {} };
