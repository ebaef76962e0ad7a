-- And a table.

#IfNotTable care_teams
CREATE TABLE `care_teams` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `pid` bigint NOT NULL
) ENGINE=InnoDB;
#EndIf

#IfMissingColumn documents hash_kind
ALTER TABLE `documents` ADD COLUMN `hash_kind` varchar(15) NOT NULL DEFAULT '';
#EndIf
