-- Least privilege for rollcall on MySQL and MariaDB: one user that makes the
-- tables (store/mysql.Open without NoMigrate, once for each version of rollcall),
-- one that works (NoMigrate). Change the passwords: rollcall is Config.Schema,
-- shop the database of the business. KILL of one's own connections needs no right.
-- Run it as a user who may create users, once.

CREATE DATABASE IF NOT EXISTS rollcall;

CREATE USER IF NOT EXISTS 'rollcall_migrate'@'%' IDENTIFIED BY 'change-me-1';
GRANT CREATE, ALTER, INDEX, SELECT, INSERT, UPDATE ON rollcall.* TO 'rollcall_migrate'@'%';

CREATE USER IF NOT EXISTS 'rollcall_run'@'%' IDENTIFIED BY 'change-me-2';
GRANT SELECT, INSERT ON rollcall.* TO 'rollcall_run'@'%';
-- It may change rows of every table but log, the operator log, which only grows.
-- (The server refuses grants on tables that are not made yet, but for those with
-- CREATE, which is taken back.)
GRANT CREATE, UPDATE, DELETE ON rollcall.tokens TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.tokens FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.beats TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.beats FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.inbox TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.inbox FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.rolls TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.rolls FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.counts TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.counts FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.asides TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.asides FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.outbox TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.outbox FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.results TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.results FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.claims TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.claims FROM 'rollcall_run'@'%';
GRANT CREATE, UPDATE, DELETE ON rollcall.schema_version TO 'rollcall_run'@'%';
REVOKE CREATE ON rollcall.schema_version FROM 'rollcall_run'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO 'rollcall_run'@'%';
