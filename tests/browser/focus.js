// SPDX-License-Identifier: MIT
const e = document.activeElement;
if (!e || e === document.body) return null;
const style = getComputedStyle(e), box = e.getBoundingClientRect();
const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none";
return {name: e.tagName + " " + (e.id || e.getAttribute("aria-label") || e.textContent.trim().slice(0, 30)),
        href: e.getAttribute("href"), seen: seen, inside: box.width > 0 && box.height > 0};
