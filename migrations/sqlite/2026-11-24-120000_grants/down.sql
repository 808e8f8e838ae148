DROP TABLE role_includes;
DROP TABLE role_wildcards;
