"""How every page looks: the reader's system chooses light or dark."""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --shade: #f4f6f8; --link: #0b5cad;
  --bad: #a4161a; --bad-shade: #fdecec; --grid: #e4e8ec;
  --s0: #0b62b3; --s1: #c2500a; --s2: #0a7d55; --s3: #9b3f8f; --s4: #7a5b00; --s5: #1d7f93; --s6: #b3263a;
    --s7: #555c66;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e6e9ed; --soft: #a0aab5; --line: #3a424b; --shade: #1e2329; --link: #7cb7f5;
    --bad: #ff9a9a; --bad-shade: #3a1d1f; --grid: #2b3138;
    --s0: #6cb0f5; --s1: #f0924f; --s2: #4fc394; --s3: #dc8fd0; --s4: #d9b54a; --s5: #63c6d9; --s6: #f57f8f;
      --s7: #a9b1bb;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main, footer { max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .85rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line);
  }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
a { color: var(--link); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0; padding: 0; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { white-space: nowrap; }
td { max-width: 32rem; overflow-wrap: break-word; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-decoration: underline dotted; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .2rem 1rem; margin: .75rem 0;
  }
dt { color: var(--soft); }
dd { margin: 0; }
.big { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; list-style: none; }
.big li { background: var(--shade); border-radius: .4rem; padding: .6rem 1rem; min-width: 8rem; }
.big b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.big span { color: var(--soft); font-size: .85rem; }
.notice { background: var(--shade); border-left: .3rem solid var(--s0); padding: .5rem .75rem; margin:
  .75rem 0; }
.notice.bad { background: var(--bad-shade); border-color: var(--bad); color: var(--bad); }
pre { background: var(--shade); padding: .6rem .75rem; border-radius: .4rem; overflow-x: auto; font-size:
  .85rem; overflow-wrap: normal; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--link); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem
  1.5rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .9rem; margin-bottom: .25rem; font-weight: 600; }
img { max-width: 100%; height: auto; background: #fff; }
svg { display: block; width: 100%; height: auto; max-width: 40rem; overflow: visible; }
svg text {
  fill: var(--soft); font: 11.5px system-ui, sans-serif;
  stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; paint-order: stroke;
}
.side { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.side > .wide { max-width: 100%; }
svg .g { stroke: var(--grid); fill: none; }
svg .a { stroke: var(--line); fill: none; }
svg .mark { stroke: var(--soft); stroke-dasharray: 2 3; fill: none; }
svg .l { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .thin { stroke-width: 1; opacity: .45; stroke-dasharray: none; }
svg .thin:hover { stroke-width: 3; opacity: 1; }
svg .best { stroke-width: 3.5; stroke-dasharray: none; }
svg .good { stroke-width: 1.75; stroke-dasharray: none; opacity: .85; }
svg .good:hover { stroke-width: 3; }
.across svg { max-width: none; min-width: 34rem; }
svg .band { stroke: none; opacity: .18; }
svg .p { stroke: var(--paper); stroke-width: .5; }
.c0 { stroke: var(--s0); } .c1 { stroke: var(--s1); stroke-dasharray: 7 3; } .c2 { stroke: var(--s2);
  stroke-dasharray: 2 3; }
.c3 { stroke: var(--s3); stroke-dasharray: 9 3 2 3; } .c4 { stroke: var(--s4); } .c5 { stroke: var(--s5);
  stroke-dasharray: 7 3; }
.c6 { stroke: var(--s6); stroke-dasharray: 2 3; } .c7 { stroke: var(--s7); stroke-dasharray: 9 3 2 3; }
.f0 { fill: var(--s0); } .f1 { fill: var(--s1); } .f2 { fill: var(--s2); } .f3 { fill: var(--s3); }
.f4 { fill: var(--s4); } .f5 { fill: var(--s5); } .f6 { fill: var(--s6); } .f7 { fill: var(--s7); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .25rem 0 0; padding: 0;
  font-size: .85rem; }
.legend svg { display: inline-block; width: 1.8rem; height: .6rem; vertical-align: middle; margin-right:
  .35rem; }
@media (max-width: 32rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #333; --line: #999; --grid: #ddd;
    --shade: #f4f4f4; }
  body { font-size: 11pt; }
  nav { display: none; }
  main, footer { max-width: none; padding: 0; }
  .grid { grid-template-columns: 1fr 1fr; }
  figure, tr, .notice, .big li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
}
"""
