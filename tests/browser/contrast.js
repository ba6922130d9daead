// SPDX-License-Identifier: MIT
const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const light = c => { const [r, g, b] = c.map(v => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
const ground = e => { const seen = [];
  for (; e; e = e.parentElement) seen.push(parse(getComputedStyle(e).backgroundColor));
  const root = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  return seen.reduceRight((below, c) => over(c, below), root); };
const poor = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; node = walker.nextNode();) {
  const e = node.parentElement;
  if (!node.data.trim() || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
  if (e.closest("svg, script, style, noscript")) continue;
  const box = document.createRange(); box.selectNodeContents(node);
  if (!box.getClientRects().length) continue;
  const style = getComputedStyle(e), below = ground(e);
  const size = parseFloat(style.fontSize), big = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const [a, b] = [light(over(parse(style.color), below)), light(below)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (big ? 3 : 4.5)) poor.set(e.tagName + "." + e.className, ratio.toFixed(2) + " " + node.data.trim().slice(0, 30));
  if (size < 11) poor.set(e.tagName + "." + e.className + " size", size + "px " + node.data.trim().slice(0, 30));
}
return [...poor].map(([k, v]) => k + ": " + v);
