mod addresses;
mod expressions;
mod requests;
mod schedules;
