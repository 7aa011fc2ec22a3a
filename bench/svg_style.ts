/**
 * The colors of all plots, in light and in dark. A picture on a page follows the setting of the reader's system.
 *
 * @module
 */

/** The classes that plots use: text, notes, the grid, ranges; and ours, others and the best possible, as area or line. */
export const STYLE = `<style>
  text { fill: #1f2328; }
  .note { fill: #59636e; }
  .grid { stroke: #d0d7de; fill: none; }
  .range { stroke: #1f2328; stroke-opacity: 0.5; fill: none; }
  .ours { --color: #1b6ca8; }
  .other { --color: #a4acb4; }
  .best { --color: #59636e; }
  .fill { fill: var(--color); }
  .stroke { stroke: var(--color); fill: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9aa4af; }
    .grid { stroke: #30363d; }
    .range { stroke: #e6edf3; }
    .ours { --color: #58a6e0; }
    .other { --color: #59636e; }
    .best { --color: #9aa4af; }
  }
</style>`;
