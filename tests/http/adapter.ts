/**
 * Opens a door before a server in this very process.
 *
 * @module
 */
import type { OpenDoor } from "./kit.ts";
import { createScene, operate, type Scene, type SceneName } from "./scenes.ts";
import type { Listening } from "../runtimes/node.ts";

/**
 * Opens a door.
 *
 * @param name The scene behind it.
 * @param listen Puts the door before the scene's server.
 */
export async function openDoor(
  name: SceneName,
  listen: (scene: Scene) => Promise<Listening>,
): Promise<OpenDoor> {
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
