-- Least privilege for rollcall on MySQL and MariaDB: one user that makes the
-- tables (store/mysql.Open without NoMigrate, once for each version of rollcall),
-- one that works (NoMigrate). Change the passwords: rollcall is Config.Schema,
-- shop the database of the business. KILL of one's own connections needs no right.
-- Run it as a user who may create users, once.

CREATE DATABASE IF NOT EXISTS rollcall;

CREATE USER IF NOT EXISTS 'rollcall_migrate'@'%' IDENTIFIED BY 'change-me-1';
GRANT CREATE, ALTER, INDEX, SELECT, INSERT, UPDATE ON rollcall.* TO 'rollcall_migrate'@'%';

CREATE USER IF NOT EXISTS 'rollcall_run'@'%' IDENTIFIED BY 'change-me-2';
GRANT SELECT, INSERT, UPDATE, DELETE ON rollcall.* TO 'rollcall_run'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO 'rollcall_run'@'%';
