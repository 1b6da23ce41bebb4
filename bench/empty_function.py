"""A function that does nothing: what Python and the runtime client take by themselves."""


def lambda_handler(_event: object, _context: object) -> dict[str, object]:
    return {"statusCode": 200, "body": ""}
