/**
 * Servers on one DynamoDB.
 *
 * @module
 */
import { addressOf } from "../../storage/table_kit.ts";
import { testWakes } from "../wake.ts";

testWakes({
  name: "DynamoDBStorage",
  engine: "dynamodb",
  use: (test) => test(addressOf("REALITY_TEST_DYNAMODB")),
  runtime: "node",
});
