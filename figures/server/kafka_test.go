package server

import (
	"os"
	"testing"
)

func TestTry(t *testing.T) {
	measureAll(t, Config{Kafka: os.Getenv("K"), Postgres: os.Getenv("P")})
}
