/**
 * Opens an adapter before a server in this very process.
 *
 * @module
 */
import type { OpenAdapter } from "./adapter.ts";
import { createScene, operate, type Scene, type SceneName } from "./scenes.ts";
import type { Listening } from "../runtimes/node.ts";

/**
 * Opens an adapter.
 *
 * @param name The scene behind it.
 * @param listen Puts the adapter before the scene's server.
 */
export async function openAdapter(
  name: SceneName,
  listen: (scene: Scene) => Promise<Listening>,
): Promise<OpenAdapter> {
  const scene = createScene(name);
  const { origin, close } = await listen(scene);
  const basePath = scene.handler.basePath ?? "/reality";
  return {
    url: (path) => `${origin}${basePath}${path}`,
    operate: (operation) => operate(scene, operation),
    async close() {
      await scene.server.close();
      await close();
    },
  };
}
