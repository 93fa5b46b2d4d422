-- Least rights for rollcall on PostgreSQL. Run it as the owner of the database,
-- after changing names and passwords.
--
-- rollcall_migrate makes and changes rollcall's tables: `postgres.Open` once with
-- it, at every upgrade. rollcall_run is what consumers connect as, with
-- Config.NoMigrate; it can change rows of rollcall's tables and no table. What
-- makes the tables takes UPDATE and DELETE of rollcall.log from it again: the
-- operator log only grows.

CREATE ROLE rollcall_migrate LOGIN PASSWORD 'change me';
CREATE ROLE rollcall_run LOGIN PASSWORD 'change me too';

CREATE SCHEMA rollcall AUTHORIZATION rollcall_migrate;
GRANT USAGE ON SCHEMA rollcall TO rollcall_run;
ALTER DEFAULT PRIVILEGES FOR ROLE rollcall_migrate IN SCHEMA rollcall
	GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO rollcall_run;

-- Your own tables, for the effects: what your handlers do, and no more.
-- GRANT SELECT, INSERT, UPDATE ON orders TO rollcall_run;
