// The comparisons that wait, run or are over.

import { api } from "./api.js";
import { Errands } from "./errands.js";

export const comparisons = new Errands("comparison", {
  all: async () => (await api.listComparisons({ quiet: true })).comparisons,
  one: (id) => api.getComparison(id, { quiet: true }),
  cancel: (id) => api.cancelComparison(id),
});
