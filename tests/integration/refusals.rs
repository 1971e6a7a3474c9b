//! Doors that stay shut: to come.
