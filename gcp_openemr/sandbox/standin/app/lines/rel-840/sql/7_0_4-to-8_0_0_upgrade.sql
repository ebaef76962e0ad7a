-- What the sample of an upgrade changes: a column that rows must be given a value in, as OpenEMR's UUIDs.

#IfMissingColumn patient_data uuid
ALTER TABLE `patient_data` ADD COLUMN `uuid` binary(16) DEFAULT NULL;
#EndIf
