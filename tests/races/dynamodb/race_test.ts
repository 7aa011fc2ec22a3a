/**
 * Races on DynamoDB Local, which keeps everything in memory and is slow to take transactions.
 *
 * @module
 */
import { dynamodbRecipe } from "../../run/dynamodb.ts";
import { testRaces } from "../kit.ts";
import { withServer } from "../server.ts";

testRaces({
  name: "DynamoDB",
  engine: "dynamodb",
  use: (test) => withServer(dynamodbRecipe(), test),
  share: 0.05,
  canCrash: false,
});
