-- The tables of OpenEMR that a deployment touches, with the columns it touches.

CREATE TABLE `version` (
  `v_major` int NOT NULL DEFAULT 0,
  `v_minor` int NOT NULL DEFAULT 0,
  `v_patch` int NOT NULL DEFAULT 0,
  `v_realpatch` int NOT NULL DEFAULT 0,
  `v_tag` varchar(31) NOT NULL DEFAULT '',
  `v_database` int NOT NULL DEFAULT 0,
  `v_acl` int NOT NULL DEFAULT 0
) ENGINE=InnoDB;

INSERT INTO `version` (`v_major`) VALUES (0);

CREATE TABLE `globals` (
  `gl_name` varchar(63) NOT NULL,
  `gl_index` int NOT NULL DEFAULT 0,
  `gl_value` varchar(255) NOT NULL DEFAULT '',
  PRIMARY KEY (`gl_name`, `gl_index`)
) ENGINE=InnoDB;

CREATE TABLE `groups` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `name` longtext,
  `user` longtext
) ENGINE=InnoDB;

CREATE TABLE `users` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `username` varchar(255) DEFAULT NULL,
  `password` longtext,
  `authorized` tinyint DEFAULT NULL,
  `fname` varchar(255) DEFAULT NULL,
  `lname` varchar(255) DEFAULT NULL,
  `active` tinyint(1) NOT NULL DEFAULT 1
) ENGINE=InnoDB;

CREATE TABLE `users_secure` (
  `id` bigint NOT NULL PRIMARY KEY,
  `username` varchar(255) DEFAULT NULL,
  `password` varchar(255),
  `last_update_password` datetime DEFAULT NULL,
  `login_fail_counter` int DEFAULT 0,
  UNIQUE KEY `USERNAME_ID` (`id`, `username`)
) ENGINE=InnoDB;

CREATE TABLE `keys` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `name` varchar(20) NOT NULL DEFAULT '',
  `value` text,
  UNIQUE KEY (`name`)
) ENGINE=InnoDB;

CREATE TABLE `patient_data` (
  `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `pid` bigint NOT NULL DEFAULT 0,
  `fname` varchar(255) NOT NULL DEFAULT '',
  `lname` varchar(255) NOT NULL DEFAULT '',
  `DOB` date DEFAULT NULL,
  UNIQUE KEY `pid` (`pid`)
) ENGINE=InnoDB;

CREATE TABLE `documents` (
  `id` int NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `type` enum('file_url', 'blob', 'web_url') DEFAULT NULL,
  `size` int DEFAULT NULL,
  `date` datetime DEFAULT NULL,
  `url` varchar(255) DEFAULT NULL,
  `mimetype` varchar(255) DEFAULT NULL,
  `foreign_id` bigint DEFAULT NULL,
  `name` varchar(255) DEFAULT NULL,
  `hash` varchar(255) DEFAULT NULL,
  `encrypted` tinyint NOT NULL DEFAULT 0,
  `deleted` tinyint(1) NOT NULL DEFAULT 0,
  KEY `foreign_id` (`foreign_id`)
) ENGINE=InnoDB;

CREATE TABLE `gacl_aro` (
  `id` int NOT NULL DEFAULT 0 PRIMARY KEY,
  `section_value` varchar(150) NOT NULL DEFAULT '0',
  `value` varchar(150) NOT NULL DEFAULT '',
  `order_value` int NOT NULL DEFAULT 0,
  `name` varchar(255) NOT NULL DEFAULT '',
  `hidden` int NOT NULL DEFAULT 0
) ENGINE=InnoDB;

CREATE TABLE `gacl_aro_groups` (
  `id` int NOT NULL DEFAULT 0 PRIMARY KEY,
  `parent_id` int NOT NULL DEFAULT 0,
  `lft` int NOT NULL DEFAULT 0,
  `rgt` int NOT NULL DEFAULT 0,
  `name` varchar(255) NOT NULL DEFAULT '',
  `value` varchar(150) NOT NULL DEFAULT ''
) ENGINE=InnoDB;

CREATE TABLE `gacl_groups_aro_map` (
  `group_id` int NOT NULL DEFAULT 0,
  `aro_id` int NOT NULL DEFAULT 0,
  PRIMARY KEY (`group_id`, `aro_id`)
) ENGINE=InnoDB;

CREATE TABLE `background_services` (
  `name` varchar(31) NOT NULL PRIMARY KEY,
  `title` varchar(127) NOT NULL,
  `active` tinyint NOT NULL DEFAULT 0,
  `running` tinyint NOT NULL DEFAULT -1,
  `next_run` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `execute_interval` int NOT NULL DEFAULT 0,
  `function` varchar(127) NOT NULL,
  `require_once` varchar(255) DEFAULT NULL,
  `sort_order` int NOT NULL DEFAULT 100
) ENGINE=InnoDB;

INSERT INTO `background_services` (`name`, `title`, `active`, `running`, `next_run`, `execute_interval`, `function`)
VALUES ('Email_Service', 'Email Service', 1, 0, '2021-01-18 11:25:10', 2, 'sendMail');
