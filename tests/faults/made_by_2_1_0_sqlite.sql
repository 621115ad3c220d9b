-- Made by edwh-migrate 2.1.0 (pydal) in an empty SQLite file: two migrations installed, one failed.
BEGIN TRANSACTION;
CREATE TABLE customer (id integer PRIMARY KEY, name varchar(80));
CREATE TABLE ewh_implemented_features(
    "id" INTEGER PRIMARY KEY AUTOINCREMENT,
    "name" CHAR(512) UNIQUE,
    "installed" CHAR(1),
    "last_update_dttm" TIMESTAMP
);
INSERT INTO "ewh_implemented_features" VALUES(1,'create_customer_20250101_001','T','2026-11-23 09:49:33');
INSERT INTO "ewh_implemented_features" VALUES(2,'add_invoice_20250102_001','T','2026-11-23 09:49:33');
INSERT INTO "ewh_implemented_features" VALUES(3,'import_failed_20250103_001','F','2026-11-23 09:49:33');
CREATE TABLE invoice (id integer PRIMARY KEY, customer integer);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('ewh_implemented_features',3);
COMMIT;
