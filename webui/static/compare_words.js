// Prompts and weights of a comparison, out of what was typed.

const SPLIT = /[\s;,]+/;

export const promptsOf = (typed) => [...new Set((typed ?? "").split("\n").map((line) => line.trim()).filter(Boolean))];
export const weightsOf = (typed) => [...new Set(typed.split(SPLIT).filter(Boolean).map(Number))];
