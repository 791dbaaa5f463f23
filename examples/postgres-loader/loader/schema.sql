create table if not exists hires (
    station text not null,
    started timestamp not null,
    temp_c  real not null,
    rain_mm real not null,
    workday boolean not null,
    hires   integer not null check (hires >= 0),
    primary key (station, started)
);

create table if not exists packages (
    name         text primary key,
    version      text not null,
    section      text not null,
    priority     text not null,
    installed_kb integer not null
);

-- What was loaded from where: a second run sees that there is nothing to do.
create table if not exists loads (
    source      text primary key,
    fingerprint text not null,
    rows        integer not null,
    loaded_at   timestamptz not null default now()
);

create table if not exists daily (
    day     date not null,
    station text not null,
    hires   integer not null,
    temp_c  real not null,
    rain_mm real not null,
    primary key (day, station)
);

create table if not exists refreshes (
    id           bigint generated always as identity primary key,
    refreshed_at timestamptz not null default now(),
    rows         integer not null
);

create or replace function refresh_daily() returns integer language plpgsql as $$
declare
    n integer;
begin
    lock table daily in exclusive mode;
    delete from daily;
    insert into daily
        select started::date, station, sum(hires), avg(temp_c), sum(rain_mm)
        from hires group by 1, 2;
    get diagnostics n = row_count;
    insert into refreshes (rows) values (n);
    return n;
end
$$;
