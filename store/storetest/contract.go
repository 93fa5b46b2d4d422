package storetest

func contractCases[X any]() []Case[X] { return nil }
