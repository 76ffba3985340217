// Families of models, by the names that people know.

const NAMES = { sd1: "SD 1.x", sd2: "SD 2.x", sdxl: "SDXL", sd3: "SD 3", flux: "FLUX" };

export const familyName = (family) => NAMES[family] ?? family;
