/**
 * Lets the tabs of a browser share one waiting request: the tab that holds a lock asks for all.
 *
 * To the leader each other tab is a subscription. When a tab closes, crashes or rests, the browser frees its lock and the
 * next tab leads. A tab that no leader confirms asks by itself, so a leader that hangs delays the others for a short time only.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";
import type { PageTabs } from "./page_state.ts";
import type { Subscription } from "./subscription.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { Transport } from "./transport.ts";
import type { KeyChange } from "./types.ts";

/** A leader confirms a question within this time, in milliseconds. Others wait up to twice as long, so that one of them is first. */
const CONFIRM_MS = 1_000;

/** Tabs repeat their question after each wait. One that has not done so for as many waits has crashed. */
const MAX_SILENT_WAITS = 3;

/** A tab asks the leader; about no keys when it leaves. */
interface QuestionMessage {
  readonly type: "question";
  readonly from: string;
  readonly wait: number;
  readonly epoch: string;
  readonly known: ReadonlyMap<string, number>;
}

/** What tabs send each other. */
type Message =
  | QuestionMessage
  /** The leader confirms the question of a tab, or tells it of changes. */
  | {
    readonly type: "answer";
    readonly to: string;
    readonly epoch: string;
    readonly changed: ReadonlyMap<string, KeyChange>;
  }
  /** Another tab leads, or the request of the leader has failed. */
  | { readonly type: "newLeader" | "failure" };

/** What sharing needs. */
export interface SharingDeps {
  readonly clock: ClientClock;
  readonly tabs: PageTabs;
  /** Tabs with the same name share. */
  readonly name: string;
  readonly subscriptions: Subscriptions;
  /** Asks the server once. */
  readonly askOnce: Transport;
  /** Asks the server for what changes from now on. */
  readonly transport: Transport;
}

/** A transport that asks for other tabs, or lets another tab ask. */
export interface Sharing {
  readonly transport: Transport;
  /** Leaves the other tabs until the next round. */
  leave(): void;
}

/** Creates the transport. Requests that do not wait end soon and are not shared. */
export function shareWithTabs(
  { clock, tabs, name, subscriptions, askOnce, transport }: SharingDeps,
): Sharing {
  const id = `${clock.random()}`;
  const followers = new Map<string, { readonly subscription: Subscription; cancelExpiry(): void }>();
  let channel: InstanceType<PageTabs["BroadcastChannel"]> | undefined;
  let unlock = () => {};
  let hasLock = false;
  /** Whether this tab asks although another one has the lock. */
  let isAlone = false;
  let isFailing = false;
  /** Passes what happens to the round that runs. */
  let receive: (message: Message | { readonly type: "lock" }) => void = () => {};

  const post = (message: Message) => channel?.postMessage(message);

  const dropFollower = (from: string) => {
    const follower = followers.get(from);
    followers.delete(from);
    follower?.cancelExpiry();
    follower?.subscription.stop();
  };

  const addFollower = ({ from, wait, epoch, known }: QuestionMessage) => {
    dropFollower(from);
    if (known.size === 0) return;
    const answer = (changed: ReadonlyMap<string, KeyChange>) =>
      post({ type: "answer", to: from, epoch: subscriptions.epoch!, changed });
    const subscription = subscriptions.add(answer);
    const cancelExpiry = clock.after(wait * MAX_SILENT_WAITS, () => dropFollower(from));
    followers.set(from, { subscription, cancelExpiry });
    subscription.setKeys(known.keys(), { epoch, versions: Object.fromEntries(known) });
    answer(new Map());
  };

  const join = () => {
    const controller = new AbortController();
    const held = new Promise<void>((resolve) => {
      unlock = () => {
        controller.abort();
        resolve();
      };
    });
    try {
      const own = channel = new tabs.BroadcastChannel(name);
      own.onmessage = ({ data }: { data: Message }) => {
        if (data.type === "question" && (hasLock || isAlone) && !isFailing) addFollower(data);
        receive(data);
      };
      const lead = () => {
        if (channel !== own) return;
        hasLock = true;
        post({ type: "newLeader" });
        receive({ type: "lock" });
        return held;
      };
      // It rejects when this tab leaves, and where locks are not allowed: there each tab asks by itself.
      void tabs.locks.request(name, { signal: controller.signal }, lead).then(undefined, lead);
    } catch {
      // Where a browser does not allow it, each tab asks by itself.
    }
  };

  const leave = () => {
    if (!channel) return;
    post({ type: "question", from: id, wait: 0, epoch: "", known: new Map() });
    channel.close();
    channel = undefined;
    hasLock = false;
    unlock();
    for (const from of [...followers.keys()]) dropFollower(from);
  };

  /** Asks by itself, and remembers whether that failed. */
  const ask = async (asked: Promise<number>): Promise<number> => {
    try {
      const pause = await asked;
      isFailing = false;
      return pause;
    } catch (error) {
      isFailing = (error as Error)?.name !== "AbortError";
      if (isFailing && (hasLock || isAlone)) post({ type: "failure" });
      throw error;
    }
  };

  /** Asks the server, also for the followers. */
  const lead: Transport = async (question, round) => {
    isAlone = !hasLock;
    if (isAlone) post({ type: "newLeader" });
    try {
      return await ask(transport(question, round));
    } finally {
      isAlone = false;
    }
  };

  /** Lets the leader ask. Ends with news, after the wait, or when this tab must ask by itself. */
  const follow: Transport = (question, round) =>
    new Promise((resolve) => {
      const { wait, controller: { signal }, onAnswer } = round;
      const { epoch, known } = question;
      let cancelConfirm = () => {};
      const cancelWait = clock.after(wait, () => end(0));
      const end = (pause: number | Promise<number>) => {
        cancelConfirm();
        cancelWait();
        signal.removeEventListener("abort", onAbort);
        receive = () => {};
        resolve(pause);
      };
      const onAbort = () => end(Promise.reject(signal.reason));
      const begin = () => {
        cancelConfirm();
        cancelConfirm = clock.after(CONFIRM_MS * (1 + clock.random()), () => end(lead(question, round)));
        post({ type: "question", from: id, wait, epoch: epoch!, known });
      };
      signal.addEventListener("abort", onAbort);
      receive = (message) => {
        if (message.type === "lock") end(lead(question, round));
        else if (message.type === "newLeader") begin();
        else if (message.type === "failure") {
          // A pause, since after an answer that comes early without one the next round would begin seconds later.
          end(ask(askOnce(question, { ...round, wait: 0 })).then((pause) => Math.max(pause, 1)));
        } else if (message.type === "answer" && message.to === id) {
          cancelConfirm();
          const { changed } = message;
          const asked = new Map([...changed].map(([key, { version }]) => [key, version]));
          if (onAnswer(asked, { epoch: message.epoch, changed })) end(0);
        }
      };
      begin();
      if (signal.aborted) onAbort();
    });

  return {
    transport(question, round) {
      if (round.wait === 0) return ask(askOnce(question, round));
      if (!channel) join();
      return (hasLock || !channel ? lead : follow)(question, round);
    },
    leave,
  };
}
