// The colours of the styles, for what scripts draw: read when it is drawn, in the scheme that holds then.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One of them as red, green and blue, 0 to 255.
export const parts = (name) => colour(name).match(/\d+/g).slice(0, 3).map(Number);
