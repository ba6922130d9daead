// SPDX-License-Identifier: MIT
const most = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= most) return [];
return [...document.body.querySelectorAll("*")]
  .filter(e => e.getBoundingClientRect().right > most + 1 && !e.closest(".scroll, pre, .table-wrapper"))
  .slice(0, 5).map(e => e.tagName + "." + e.className + " to " + Math.round(e.getBoundingClientRect().right));
