from edwh_migrate import ViewMigrationManager

class MyExampleView_V1(ViewMigrationManager):
    uses = ()
    since = "previous_migration"

    def up(self):
        self.db.executesql(
            '''
            CREATE MATERIALIZED VIEW my_example_view AS
            SELECT id, name FROM my_table;
            '''
        )

    def down(self):
        self.db.executesql(
            '''
            DROP MATERIALIZED VIEW IF EXISTS my_example_view;
            '''
        )

class AnotherExampleView(ViewMigrationManager):
    uses = (MyExampleView_V1,)

    def up(self):
        self.db.executesql(
            '''
            CREATE MATERIALIZED VIEW another_example_view AS
            SELECT id, name FROM my_example_view;
            '''
        )

    def down(self):
        self.db.executesql(
            '''
            DROP MATERIALIZED VIEW IF EXISTS another_example_view;
            '''
        )

from edwh_migrate import migration

@migration
def previous_migration(db):
    db.executesql('''
        CREATE TABLE my_table (
            id SERIAL PRIMARY KEY,
            name VARCHAR(255)
        );
    ''')
    db.commit()
    return True

from edwh_migrate import migration

@migration
def upgrade_some_source_table_that_my_example_view_depends_on(db):
    with MyExampleView_V1(db):
        db.executesql('''
            ALTER TABLE my_table
            ADD COLUMN new_column VARCHAR(255);
        ''')
    db.commit()
    return True
