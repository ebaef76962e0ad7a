-- What an installation of this line has beside the tables of 7.0.4.

ALTER TABLE `patient_data` ADD COLUMN `uuid` binary(16) DEFAULT NULL;

ALTER TABLE `documents` ADD COLUMN `hash_kind` varchar(15) NOT NULL DEFAULT '';

CREATE TABLE `care_teams` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `pid` bigint NOT NULL
) ENGINE=InnoDB;
