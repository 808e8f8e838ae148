DROP TABLE oauth_codes;
DROP TABLE oauth_flows;
DROP TABLE oauth_used_tokens;
DROP TABLE oauth_identities;
