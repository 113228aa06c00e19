mod expressions;
mod requests;
mod schedules;
